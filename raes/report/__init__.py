"""Reports: `python -m raes.report run_dirs...`; curves over seeds, tables, and published figures for comparison."""
