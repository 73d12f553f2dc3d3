"""The conformance statement of the product, openapi/conformance.md, made from the tables that the program itself runs on.

`python -m tests.conformance.statement` writes it, `--check` compares it with the committed copy.
"""
