"""topo_mci: groups of subjects told apart by the persistent homology of their fMRI time series."""
