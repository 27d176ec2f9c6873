"""``python -m authsvc``: the command line."""

from authsvc.cli import main

if __name__ == "__main__":
    main()
