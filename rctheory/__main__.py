"""`python -m rctheory` is the console command."""

from rctheory.cli import main

main()
