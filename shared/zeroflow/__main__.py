"""`python -m zeroflow` is the `zeroflow` command."""

from zeroflow.cli.main import main

if __name__ == "__main__":
    main()
