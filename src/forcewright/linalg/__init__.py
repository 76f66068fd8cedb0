"""Linear algebra shared by every model that is linear in its coefficients; knows no atoms."""
