"""What the figures look like: tables, charts, plots and the page."""
