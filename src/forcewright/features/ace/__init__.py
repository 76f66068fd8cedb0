"""The atomic cluster expansion (ACE): radial functions, invariant basis functions, product graphs and evaluation.

Drautz, Phys. Rev. B 99, 014104 (2019); Dusson et al., J. Comput. Phys. 454, 110946 (2022); Lysogorskiy et al.,
npj Comput. Mater. 7, 97 (2021), whose file format `.yace` is read and written here.
"""
