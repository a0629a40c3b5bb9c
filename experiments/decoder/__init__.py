"""The efficient image decoder: its data, the search of its sizes, its training and its measures."""
