"""The one kind of error a user is meant to read."""


class InputError(ValueError):
    """Something the user gave is wrong: one sentence that names the file and the mend.

    A job that ends in an InputError prints the sentence without a traceback.
    """
