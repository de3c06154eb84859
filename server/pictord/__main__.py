"""`python -m pictord` is `pictord`."""

from pictord.cli import main

main()
