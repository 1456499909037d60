"""`python -m tsad` is the command `tsad`."""

from tsad.cli import main

main()
