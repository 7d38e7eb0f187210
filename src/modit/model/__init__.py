"""The diffusion transformer, spherical flow matching, the axes of a case and the sampler, in pure torch."""
