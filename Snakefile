"""phenoloom: from raw images to profiles, evaluation and one report. The stages lie in workflow/rules."""

import os
import sys

from snakemake.utils import min_version

min_version("9.27")

LIBRARY = os.path.join(workflow.basedir, "workflow", "lib")
sys.path.insert(0, LIBRARY)
# Script jobs run in processes of their own, on a cluster on another node.
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [LIBRARY, os.environ.get("PYTHONPATH")])))


# The default must not be loaded under another study: Snakemake merges configs deeply.
if "study" not in config:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/ingest.smk"
include: "workflow/rules/quality.smk"
include: "workflow/rules/illumination.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/profiles.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/targets.smk"
