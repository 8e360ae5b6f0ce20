"""Takes: the prompt sheet, shown with every look. Knows no training, no scoring, no page."""
