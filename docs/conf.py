"""How Sphinx builds the manual: ``make docs``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

from cellfree_sim import __version__  # noqa: E402

project = "cellfree-sim"
author = "The cellfree-sim developers"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "generated",
]
exclude_patterns = ["_ext", "_static", "**/README.md"]
language = "en"
nitpicky = True
smartquotes = False
show_warning_types = True

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

# Docstrings are written for people at a terminal: `name` is code, and types are words of the text.
default_role = "literal"
napoleon_numpy_docstring = False
napoleon_attr_annotations = False
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_display_short_literal_types = True
maximum_signature_line_length = 100
# Other libraries are not in this manual, nor are classes of options, which have a generated page instead.
nitpick_ignore_regex = [("py:.*", r"(?!cellfree_sim\.|agents\.).*")]

nitpick_ignore = [
    ("py:class", f"cellfree_sim.{name}")
    for name in ("scenario.schema.Scenario", "uplink.codebook.CodebookOptions", "backhaul.messages.Header")
] + [("py:class", "cellfree_sim.backhaul.messages.Message")]

html_theme = "furo"
html_title = f"cellfree-sim {version}"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5fa8", "color-brand-content": "#1f5fa8"},
    "dark_css_variables": {"color-brand-primary": "#79b4f2", "color-brand-content": "#79b4f2"},
}
pygments_style = "tango"
pygments_dark_style = "monokai"

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
copybutton_line_continuation_character = "\\"

linkcheck_timeout = 20
linkcheck_retries = 2
