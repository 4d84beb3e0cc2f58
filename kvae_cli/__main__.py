"""`python -m kvae_cli` is `kvae`."""

from kvae_cli import main

if __name__ == "__main__":
    main()
