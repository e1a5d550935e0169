"""Floor 7: looking at numbers and machines: are the gradients right, what runs here."""
