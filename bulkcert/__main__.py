"""Lets ``python -m bulkcert`` do what the command ``bulkcert`` does."""

from bulkcert.cli import main

if __name__ == "__main__":
    main()
