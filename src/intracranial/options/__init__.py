"""Command-line options: one frozen dataclass per script, with a docstring for each field.

In: flags and the recipe's section, through `config.parse_options`. Out: checked values.
Enter at the module of the script; `common` holds what several scripts share.
It knows no array and no network, and computes nothing.
"""
