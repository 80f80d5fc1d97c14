"""How well profiles tell perturbations and mechanisms apart: retrieval, classification, activity, controls, dose."""
