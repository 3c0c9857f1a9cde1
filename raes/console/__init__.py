"""What a person sees of a run: lines on a terminal or in a notebook, tables, and a window for films."""
