"""`python -m glocal`."""

from glocal.cli import main

if __name__ == "__main__":
    main()
