"""The terminal display, the HTML report and the Markdown report of a run."""
