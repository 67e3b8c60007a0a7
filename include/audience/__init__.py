"""Who gets recommendations: building the list, judging it against the live one, and the lists that were accepted."""
