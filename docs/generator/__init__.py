"""What writes most pages of the documentation: from docstrings, folders of operations, tutorials, READMEs, results."""
