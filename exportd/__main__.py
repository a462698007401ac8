"""`python -m exportd` is the `exportd` command."""

from exportd.cli import main

if __name__ == "__main__":
    main()
