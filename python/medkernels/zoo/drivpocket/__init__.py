"""drivpocket: the cavities of a protein where ligands bind."""
