"""Tables and pages made of measured figures. Nothing is measured here."""
