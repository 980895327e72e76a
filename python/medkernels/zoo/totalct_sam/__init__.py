"""totalct_sam: labels the structures of a CT voxel by voxel, with or without clicks."""
