"""For templates: `{% load sluice_updates %}`."""
