"""A generated head: CT, T1, T2, PET and labels of one random anatomy."""
