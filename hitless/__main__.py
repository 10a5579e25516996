"""`python -m hitless`: the same as the command `hitless`.

This folder has no `__init__.py` on purpose: a folder `hitless` in a project of yours stays
importable beside this one.
"""

from hitless_cli import main

main()
