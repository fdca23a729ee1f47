"""How Sphinx makes a site of these pages: `make docs`, which takes every warning for an error."""

from __future__ import annotations

from parley import __version__

project = "Parley"
author = "The Parley authors"
project_copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx_design"]
exclude_patterns: list[str] = []
nitpicky = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

# HAProxy's language has no highlighter, and that of SQL doesn't know psql's commands.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"Parley {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0b6e4f", "color-brand-content": "#0b6e4f"},
    "dark_css_variables": {"color-brand-primary": "#5fd3a4", "color-brand-content": "#5fd3a4"},
}
