"""Inputs of the rules in evaluation.smk."""


def evaluation_options(wildcards):
    """Options of one evaluation without the patterns that say where it runs, which change nothing in its jobs."""
    block = config["evaluation"][wildcards.evaluation]
    return {key: value for key, value in block.items() if key != "of"}


def evaluated_profiles(wildcards):
    """The table that an evaluation takes: cells, wells or treatments."""
    level = config["evaluation"][wildcards.evaluation]["level"]
    stage = "cell_profiles" if level == "cells" else "profiles"
    return f"<results>/{wildcards.dataset}/{stage}/{wildcards.representation}/{wildcards.profile}/{level}.parquet"
