"""Every rule states what it must: read from the rule files as text, so that a rule which no study uses counts too."""

import re
from pathlib import Path

import pytest

WORKFLOW = Path(__file__).resolve().parents[2] / "workflow"
FILES = sorted((WORKFLOW / "rules").glob("*.smk"))
#: Of a rule in a loop the name is a directive.
HEAD = re.compile(r"^( *)rule(?: (\w+))?:\n", flags=re.M)
DIRECTIVE = re.compile(r"^(\w+):(.*)$")


def rules():
    """(file and name, {directive: text}, docstring or comment) of each rule in workflow/rules."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for head in HEAD.finditer(text):
            lines, directives, docstring, current = text[head.end() :].splitlines(), {}, "", None
            indent = len(head[1]) + 4
            for number, line in enumerate(lines):
                if line.strip() and len(line) - len(line.lstrip()) < indent:
                    break
                found = DIRECTIVE.match(line[indent:])
                if number == 0 and line.strip().startswith('"""'):
                    docstring = line.strip().strip('"')
                elif found:
                    current = found[1]
                    directives[current] = found[2]
                elif current:
                    directives[current] += f"\n{line}"
            before = text[: head.start()].rstrip().splitlines()
            if not docstring and "name" in directives and before[-1].startswith("for "):
                # A docstring would be one of the first rule only: the comment above the loop, or the file, says it.
                docstring = text.splitlines()[0].strip('"')
            name = head[2] or re.search(r'"(\w+?)_?[{"]', directives.get("name", ""))[1]
            yield f"{path.name}:{name}", directives, docstring


RULES = {name: (directives, docstring) for name, directives, docstring in rules()}


@pytest.fixture(params=RULES, ids=list(RULES))
def rule(request):
    """(directives, docstring) of one rule."""
    return RULES[request.param]


def test_the_rules_are_read():
    text = "".join(path.read_text(encoding="utf-8") for path in FILES)
    assert len(RULES) == len(re.findall(r"^ *rule\b.*:$", text, flags=re.M)) > 20
    assert {"features.smk:cellprofiler", "illumination.smk:illumination", "report.smk:report"} <= set(RULES)


def test_a_rule_states_what_it_makes_and_needs(rule):
    directives, _ = rule
    wanted = {"output", "log", "benchmark", "threads", "resources", "conda"}
    assert not wanted - set(directives)
    assert {"input", "params"} & set(directives)
    assert len({"script", "shell"} & set(directives)) == 1
    assert "mem_mb" in directives["resources"]


def test_a_rule_says_in_one_sentence_what_it_does(rule):
    assert re.match(r"[A-Z].{15,}\.$", rule[1])


def test_a_rule_reruns_with_its_own_script_and_its_own_environment(rule):
    directives, _ = rule
    script = re.search(r"(\w+)\.py", directives.get("script", "") + directives.get("shell", ""))[1]
    environment = re.search(r'"\.\./envs/(\w+)\.yaml"', directives["conda"])[1]
    named = re.search(r'code=code_of\("(\w+)", "(\w+)"[,)]', directives["params"])
    assert (script, environment) == named.groups()
    assert (WORKFLOW / "envs" / f"{environment}.yaml").is_file()


def test_results_logs_and_benchmarks_lie_where_they_belong(rule):
    directives, _ = rule
    assert "<logs>/" in directives["log"] and ".log" in directives["log"]
    assert "<benchmarks>/" in directives["benchmark"] and ".tsv" in directives["benchmark"]
    assert "results/{" not in directives["output"]


def test_every_script_is_used_and_every_script_that_is_named_exists():
    named = set()
    for directives, _ in RULES.values():
        named |= set(re.findall(r"(\w+\.py)\b", directives.get("script", "") + directives.get("shell", "")))
    assert named == {path.name for path in (WORKFLOW / "scripts").glob("*.py")}


def test_targets_by_name_say_what_they_are():
    text = (WORKFLOW.parent / "Snakefile").read_text(encoding="utf-8")
    for head in HEAD.finditer(text):
        assert re.match(r' +"""[A-Z].*\."""\n', text[head.end() :]), head[2]
