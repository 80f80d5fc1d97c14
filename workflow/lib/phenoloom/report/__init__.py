"""Figures and the report: every figure as SVG, PNG and Parquet, and one self-contained HTML page."""
