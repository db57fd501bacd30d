"""`python -m intracranial` is the program `intracranial`."""

from intracranial.program import main

if __name__ == "__main__":
    main()
