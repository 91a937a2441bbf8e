std = "lua54"
max_line_length = 150
files["spec"] = { std = "+busted" }
files["examples"] = { globals = {} }
