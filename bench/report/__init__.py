"""Tables and pages of measured figures."""
