"""Colours and sizes that all pictures share."""

# Two colours by Okabe and Ito, and "muted" by Paul Tol: told apart in all common kinds of colour blindness.
BLUE, VERMILION = "#0072B2", "#D55E00"
MUTED = ["#332288", "#CC6677", "#44AA99", "#DDCC77", "#88CCEE", "#882255", "#117733", "#999933", "#AA4499", "#777777"]
INK, PANEL, MISSING = "0.25", (0.95, 0.95, 0.95), (0.72, 0.82, 0.92)
DPI, WIDTH, CELL, GAP = 100, 880, 88, 3  # pixels: of a figure, of one example, between examples
