#!/bin/bash
# Runs once in the new conda environment: CellProfiler without wx and MySQL, and the launcher that the rule calls.
set -euo pipefail
export JAVA_HOME="${CONDA_PREFIX}/lib/jvm"
pip install --no-build-isolation --no-deps python-javabridge==4.0.4 centrosome==1.2.3 python-bioformats==4.1.0
pip install --no-deps prokaryote==2.4.4 cellprofiler==4.2.8.1 cellprofiler-core==4.2.8.1
cat > "${CONDA_PREFIX}/bin/phenoloom-cellprofiler" <<'LAUNCHER'
#!/bin/sh
export JAVA_HOME="${CONDA_PREFIX}/lib/jvm"
exec "${CONDA_PREFIX}/bin/python" "$@"
LAUNCHER
chmod +x "${CONDA_PREFIX}/bin/phenoloom-cellprofiler"
