"""Small named calculations with a potential, from an equation of state to melt and quench."""
