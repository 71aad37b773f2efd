"""
Pages of the documentation site that are made of the code, when the site is built (mkdocs.yml, `hooks`).

A page is a function that returns Markdown. Nothing of it is kept in the repository, so nothing can be out of date.
"""
