"""`python -m fuzz`. Exit codes: 0 nothing was flagged, 1 something was, 2 wrong use."""

from fuzz.cli import app

if __name__ == "__main__":
    app()
