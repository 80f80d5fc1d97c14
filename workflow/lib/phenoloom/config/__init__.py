"""The config of a study: schema, validation with the nearest known key, defaults, and what the DAG asks of it."""
