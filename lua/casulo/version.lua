-- SPDX-License-Identifier: MIT
return "casulo 0.1"
