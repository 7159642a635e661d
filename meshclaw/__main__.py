"""`python -m meshclaw`."""

from meshclaw.cli.main import main

if __name__ == "__main__":
    main()
