"""Hold an RO-Crate against the profiles that it claims, with roc-validator; runs in the environment `validate`.

    python tests/validate_crate.py FOLDER [REQUIRED | RECOMMENDED | OPTIONAL]

Prints a JSON list of what is wrong. The one document that validation fetches, the JSON-LD context of RO-Crate 1.1, is
taken from a package that carries it, so that no network is needed.
"""

import json
import sys
from importlib import metadata

from rocrate_validator import models, services
from rocrate_validator.utils import http

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
PROFILE = "workflow-run-crate-0.5"


class Answer:
    """What a request for the context gives."""

    status_code, ok, headers = 200, True, {"Content-Type": "application/ld+json"}

    def __init__(self, text):
        self.text, self.content = text, text.encode()

    def json(self):
        return json.loads(self.text)

    def raise_for_status(self):
        pass


def get(self, url, *arguments, **options):
    if url != CONTEXT:
        raise RuntimeError(f"{url} would be fetched")
    path = metadata.distribution("rocrate").locate_file("rocrate/data/ro-crate.jsonld")
    return Answer(path.read_text(encoding="utf-8"))


def problems(folder, severity):
    """What is wrong with the crate in a folder, down to a severity."""
    http.HttpRequester.get = get
    settings = services.ValidationSettings(
        rocrate_uri=folder, profile_identifier=PROFILE, requirement_severity=models.Severity[severity]
    )
    return [
        {"severity": issue.severity.name, "check": issue.check.identifier, "message": issue.message}
        for issue in services.validate(settings).get_issues()
    ]


if __name__ == "__main__":
    print(json.dumps(problems(sys.argv[1], *(sys.argv[2:] or ["REQUIRED"]))))
