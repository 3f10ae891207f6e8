-- Wireshark dissector for the wire protocol of Bank Vault, version 1 (docs/PROTOCOL.md).
--
--   tshark -X lua_script:docs/vault.lua -r capture.pcapng -O vault
--   wireshark -X lua_script:docs/vault.lua          (or put it into the folder of personal Lua plugins)
--
-- It takes TCP port 7777 (a preference), and any connection of which a segment begins with a frame's first bytes. Requests and
-- responses are told apart by the lengths of their bodies alone, which no opcode has in common; so it needs no port for that.
-- XORed bodies stay closed: what would open them is the session, and that is another conversation's matter.

local vault = Proto("vault", "Bank Vault")

local HEADER, KEY, NUMBER, LONGEST, ENTRY, LEAST_CLUSTER = 18, 16, 8, 4096, 37, 31
local MAGIC, VERSION = 0xC0DE, 1
local XOR, ERROR, KEYED, AFTER, LSN = 1, 2, 4, 8, 16

local OPCODES = {
    [0x0001] = "LOGIN", [0x0002] = "DEPOSIT", [0x0003] = "WITHDRAW", [0x0004] = "TRANSFER", [0x0005] = "BALANCE",
    [0x0006] = "HISTORY", [0x00F0] = "PING", [0x00F1] = "TOTALS", [0x00F2] = "CLUSTER",
}
local STATUSES = {
    [0] = "OK", "ERR_AUTH", "ERR_BAD_CRC", "ERR_BAD_FRAME", "ERR_NO_ACCOUNT", "ERR_INSUFFICIENT", "ERR_BUSY", "ERR_TIMEOUT",
    "ERR_INVALID", "ERR_CONFLICT", "ERR_FORBIDDEN", "ERR_FROZEN", "ERR_NOT_PRIMARY", "ERR_BEHIND",
    "ERR_NO_QUORUM",
}
local ROLES = { [0] = "alone", "follower", "candidate", "primary", "learner" }
local KINDS = { "deposit", "withdrawal", "transfer to", "transfer from" }
-- Bytes of a request's body, and of a response's with its status; LOGIN, HISTORY and CLUSTER are looked at by
-- themselves. The LSN that a response may carry before its body does not count.
local LENGTHS = {
    [0x0002] = { 12, 10 }, [0x0003] = { 12, 10 }, [0x0004] = { 16, 18 }, [0x0005] = { 4, 10 }, [0x00F0] = { 0, 10 },
    [0x00F1] = { 0, 38 },
}

local f = {
    length = ProtoField.uint32("vault.length", "Length"),
    magic = ProtoField.uint16("vault.magic", "Magic", base.HEX),
    version = ProtoField.uint8("vault.version", "Version"),
    flags = ProtoField.uint8("vault.flags", "Flags", base.HEX),
    xor = ProtoField.bool("vault.flags.xor", "XORed body", 8, nil, XOR),
    error = ProtoField.bool("vault.flags.error", "Error response", 8, nil, ERROR),
    keyed = ProtoField.bool("vault.flags.keyed", "Idempotency key", 8, nil, KEYED),
    after_flag = ProtoField.bool("vault.flags.after", "Last LSN seen", 8, nil, AFTER),
    lsn_flag = ProtoField.bool("vault.flags.lsn", "LSN asked for, or carried", 8, nil, LSN),
    after = ProtoField.uint64("vault.after", "Last LSN seen"),
    as_of = ProtoField.uint64("vault.as_of", "As of LSN"),
    replica = ProtoField.uint8("vault.replica", "Number in the cluster"),
    role = ProtoField.uint8("vault.role", "Role", base.DEC, ROLES),
    term = ProtoField.uint64("vault.term", "Term"),
    committed = ProtoField.uint64("vault.committed", "Committed LSN"),
    applied = ProtoField.uint64("vault.applied", "Applied LSN"),
    primary = ProtoField.uint8("vault.primary", "Primary"),
    address = ProtoField.string("vault.address", "Address"),
    members = ProtoField.uint8("vault.members", "Members"),
    node = ProtoField.uint64("vault.node", "Identity", base.HEX),
    match = ProtoField.uint64("vault.match", "Match LSN"),
    heard = ProtoField.uint32("vault.heard", "Last heard, ms ago"),
    opcode = ProtoField.uint16("vault.opcode", "Opcode", base.HEX, OPCODES),
    seq = ProtoField.uint32("vault.seq", "Sequence number"),
    crc = ProtoField.uint32("vault.crc", "CRC-32", base.HEX),
    crc_good = ProtoField.bool("vault.crc.good", "CRC-32 is right"),
    request = ProtoField.bool("vault.request", "Request"),
    key = ProtoField.bytes("vault.key", "Idempotency key"),
    status = ProtoField.uint16("vault.status", "Status", base.DEC, STATUSES),
    user = ProtoField.string("vault.user", "User"),
    password = ProtoField.string("vault.password", "Password"),
    session = ProtoField.uint32("vault.session", "Session", base.HEX),
    account = ProtoField.uint32("vault.account", "Account"),
    to = ProtoField.uint32("vault.to", "To account"),
    amount = ProtoField.int64("vault.amount", "Amount"),
    balance = ProtoField.int64("vault.balance", "Balance"),
    to_balance = ProtoField.int64("vault.to_balance", "Balance of the other account"),
    before = ProtoField.uint64("vault.before_lsn", "Before LSN"),
    limit = ProtoField.uint16("vault.limit", "Limit"),
    count = ProtoField.uint16("vault.count", "Entries"),
    next = ProtoField.uint64("vault.next", "Next page before LSN"),
    lsn = ProtoField.uint64("vault.lsn", "LSN"),
    time = ProtoField.absolute_time("vault.time", "Time", base.UTC),
    kind = ProtoField.uint8("vault.kind", "Kind", base.DEC, KINDS),
    accounts = ProtoField.uint32("vault.accounts", "Accounts"),
    sum = ProtoField.int64("vault.sum", "Sum"),
    deposited = ProtoField.int64("vault.deposited", "Deposited"),
    withdrawn = ProtoField.int64("vault.withdrawn", "Withdrawn"),
    closed = ProtoField.bytes("vault.xored", "Body, XORed with the session's key"),
    unknown = ProtoField.bytes("vault.unknown", "Body that is of no request or response of this version"),
    noise = ProtoField.bytes("vault.noise", "Bytes that are no frame"),
}
vault.fields = {}
for _, field in pairs(f) do table.insert(vault.fields, field) end

local bad_crc = ProtoExpert.new("vault.crc.bad", "The checksum is wrong", expert.group.CHECKSUM, expert.severity.ERROR)
local refused = ProtoExpert.new("vault.refused", "The request was refused", expert.group.RESPONSE_CODE, expert.severity.NOTE)
local malformed = ProtoExpert.new("vault.malformed", "Not as the protocol has it", expert.group.MALFORMED, expert.severity.ERROR)
vault.experts = { bad_crc, refused, malformed }

vault.prefs.port = Pref.uint("TCP port", 7777, "The port that the server listens on")
vault.prefs.check_crc = Pref.bool("Check the CRC-32", true, "Compute the checksum of every frame")

-- Which library of bits there is depends on Wireshark's Lua: 5.2 has bit32, 5.1 Wireshark's own bit, 5.3 and later operators.
local bits = rawget(_G, "bit32") or rawget(_G, "bit")
    or load("return { bxor = function(a, b) return a ~ b end, band = function(a, b) return a & b end }")()
local function xor32(a, b) return bits.bxor(a, b) % 0x100000000 end

-- CRC-32 of IEEE 802.3, the remainder of each byte.
local REMAINDERS = {}
for byte = 0, 255 do
    local crc = byte
    for _ = 1, 8 do
        local half = math.floor(crc / 2)
        crc = crc % 2 == 1 and xor32(half, 0xEDB88320) or half
    end
    REMAINDERS[byte] = crc
end

-- Over the whole frame as sent, with the checksum's own four bytes as zero.
local function crc_of(frame)
    local bytes, crc = frame:bytes(), 0xFFFFFFFF
    for at = 0, frame:len() - 1 do
        local byte = (at >= 14 and at < 18) and 0 or bytes:get_index(at)
        crc = xor32(REMAINDERS[xor32(crc % 256, byte)], math.floor(crc / 256))
    end
    return xor32(crc, 0xFFFFFFFF)
end

-- Cents as money: 2500 is 25.00.
local function money(range)
    local sign, digits = tostring(range:int64()):match("^(%-?)(%d+)$")
    digits = string.rep("0", 3 - #digits) .. digits
    return sign .. digits:sub(1, -3) .. "." .. digits:sub(-2)
end

local function add_money(tree, field, label, range)
    tree:add(field, range):set_text(label .. ": " .. money(range))
end

local function add_time(tree, range)
    local ms = range:uint64()
    tree:add(f.time, range, NSTime((ms / 1000):tonumber(), (ms % 1000):tonumber() * 1000000))
end

local requests, responses = {}, {}

requests[0x0001] = function(body, tree)
    local user = body(0, 1):uint()
    tree:add(f.user, body(1, user))
    tree:add(f.password, body(2 + user, body(1 + user, 1):uint()))
    return "user " .. body(1, user):string()
end
responses[0x0001] = function(body, tree)
    tree:add(f.session, body(0, 4))
    return string.format("session 0x%08x", body(0, 4):uint())
end

requests[0x0002] = function(body, tree)
    tree:add(f.account, body(0, 4))
    add_money(tree, f.amount, "Amount", body(4, 8))
    return string.format("account %d, %s", body(0, 4):uint(), money(body(4, 8)))
end
requests[0x0003] = requests[0x0002]
responses[0x0002] = function(body, tree)
    add_money(tree, f.balance, "Balance", body(0, 8))
    return "balance " .. money(body(0, 8))
end
responses[0x0003], responses[0x0005] = responses[0x0002], responses[0x0002]

requests[0x0004] = function(body, tree)
    tree:add(f.account, body(0, 4)):prepend_text("From: ")
    tree:add(f.to, body(4, 4))
    add_money(tree, f.amount, "Amount", body(8, 8))
    return string.format("account %d to %d, %s", body(0, 4):uint(), body(4, 4):uint(), money(body(8, 8)))
end
responses[0x0004] = function(body, tree)
    add_money(tree, f.balance, "Balance", body(0, 8))
    add_money(tree, f.to_balance, "Balance of the other account", body(8, 8))
    return string.format("balances %s and %s", money(body(0, 8)), money(body(8, 8)))
end

requests[0x0005] = function(body, tree)
    tree:add(f.account, body(0, 4))
    return "account " .. body(0, 4):uint()
end

requests[0x0006] = function(body, tree)
    tree:add(f.account, body(0, 4))
    tree:add(f.before, body(4, 8))
    tree:add(f.limit, body(12, 2))
    return string.format("account %d, at most %d entries", body(0, 4):uint(), body(12, 2):uint())
end
local function add_entry(tree, entry)
    local kind, amount = entry(16, 1):uint(), money(entry(17, 8))
    local branch = tree:add(vault, entry, string.format("Operation %s: %s %s", entry(0, 8):uint64(), KINDS[kind] or "?", amount))
    branch:add(f.lsn, entry(0, 8))
    add_time(branch, entry(8, 8))
    branch:add(f.kind, entry(16, 1))
    add_money(branch, f.amount, "Amount", entry(17, 8))
    if kind > 2 then branch:add(f.to, entry(25, 4)):set_text("Counterparty: " .. entry(25, 4):uint()) end
    add_money(branch, f.balance, "Balance", entry(29, 8))
end
responses[0x0006] = function(body, tree)
    local count = body(0, 2):uint()
    tree:add(f.count, body(0, 2))
    for entry = 0, count - 1 do add_entry(tree, body(2 + entry * ENTRY, ENTRY)) end
    tree:add(f.next, body(2 + count * ENTRY, 8))
    return count .. " entries"
end

requests[0x00F0] = function() return nil end
responses[0x00F0] = function(body, tree)
    add_time(tree, body(0, 8))
    return nil
end

requests[0x00F1] = requests[0x00F0]
responses[0x00F1] = function(body, tree)
    tree:add(f.accounts, body(0, 4))
    add_money(tree, f.sum, "Sum", body(4, 8))
    add_money(tree, f.deposited, "Deposited", body(12, 8))
    add_money(tree, f.withdrawn, "Withdrawn", body(20, 8))
    tree:add(f.lsn, body(28, 8))
    return string.format("%d accounts hold %s", body(0, 4):uint(), money(body(4, 8)))
end

requests[0x00F2] = requests[0x00F0]
-- Adds an address that begins at `at`; gives where it ends, and its text.
local function add_address(body, at, tree, label)
    local length = body(at, 1):uint()
    local text = length > 0 and body(at + 1, length):string() or ""
    tree:add(f.address, body(at, 1 + length), text):set_text(label .. ": " .. text)
    return at + 1 + length, text
end
responses[0x00F2] = function(body, tree)
    tree:add(f.replica, body(0, 1))
    tree:add(f.role, body(1, 1))
    tree:add(f.term, body(2, 8))
    tree:add(f.committed, body(10, 8))
    tree:add(f.applied, body(18, 8))
    tree:add(f.primary, body(26, 1))
    local at, primary = add_address(body, 27, tree, "Primary's address")
    local count = body(at, 1):uint()
    tree:add(f.members, body(at, 1))
    at = at + 1
    for _ = 1, count do
        local branch = tree:add(vault, body(at, 22), "Member " .. body(at, 1):uint())
        branch:add(f.replica, body(at, 1))
        branch:add(f.node, body(at + 1, 8))
        branch:add(f.role, body(at + 9, 1))
        branch:add(f.match, body(at + 10, 8))
        branch:add(f.heard, body(at + 18, 4))
        at = add_address(body, at + 22, branch, "For peers")
        at = add_address(body, at, branch, "For clients")
    end
    return string.format("%s, %d members, primary %s", ROLES[body(1, 1):uint()] or "?", count, primary ~= "" and primary or "unknown")
end

-- Whether a body of this length can only be a request, or only a response: true, false; nil for neither.
local function is_request(opcode, flags, body)
    local length = body and body:len() or 0
    if bits.band(flags, ERROR) ~= 0 then
        if length == 2 then return false end
        return nil
    end
    if opcode == 0x0001 and length > 0 then
        local user = body(0, 1):uint()
        if user + 2 <= length and body(user + 1, 1):uint() + user + 2 == length then return true end
        return length ~= 6 and nil
    elseif opcode == 0x0006 then
        if length == 14 then return true end
        return (length < 12 or (length - 12) % ENTRY ~= 0) and nil
    elseif opcode == 0x00F2 then
        if length == 0 then return true end
        return length < LEAST_CLUSTER and nil
    end
    local lengths = LENGTHS[opcode]
    if lengths and length == lengths[1] then return true end
    return not (lengths and length == lengths[2]) and nil
end

local function header(frame, tree)
    tree:add(f.length, frame(0, 4))
    tree:add(f.magic, frame(4, 2))
    tree:add(f.version, frame(6, 1))
    local flags = tree:add(f.flags, frame(7, 1))
    flags:add(f.xor, frame(7, 1))
    flags:add(f.error, frame(7, 1))
    flags:add(f.keyed, frame(7, 1))
    flags:add(f.after_flag, frame(7, 1))
    flags:add(f.lsn_flag, frame(7, 1))
    tree:add(f.opcode, frame(8, 2))
    tree:add(f.seq, frame(10, 4))
    local crc = tree:add(f.crc, frame(14, 4))
    if vault.prefs.check_crc then
        local right = crc_of(frame)
        local good = right == frame(14, 4):uint()
        tree:add(f.crc_good, frame(14, 4), good):set_generated()
        if not good then crc:add_proto_expert_info(bad_crc, string.format("The checksum should be 0x%08x", right)) end
    end
end

-- The body; gives what the summary says of it.
local function body_of(opcode, flags, body, asks, tree)
    if body and bits.band(flags, XOR) ~= 0 then
        tree:add(f.closed, body)
        return "(XORed)"
    elseif asks == nil then
        (body and tree:add(f.unknown, body) or tree):add_proto_expert_info(malformed)
        return "malformed"
    elseif asks then
        return requests[opcode](body, tree)
    end
    local status = body(0, 2):uint()
    local item = tree:add(f.status, body(0, 2))
    if status ~= 0 then
        item:add_proto_expert_info(refused, STATUSES[status] or "unknown status")
        return STATUSES[status] or ("status " .. status)
    end
    local rest = responses[opcode](body:len() > 2 and body(2) or nil, tree)
    return rest and "OK, " .. rest or "OK"
end

-- How many frames of this packet the summary has named.
local said_so_far = 0
local function say(pinfo, text)
    pinfo.cols.info:append((said_so_far > 0 and " | " or "") .. text)
    said_so_far = said_so_far + 1
end

local function dissect_frame(tvb, pinfo, root)
    local frame = tvb()
    pinfo.cols.protocol = "VAULT"
    if frame:len() < HEADER or frame(4, 2):uint() ~= MAGIC or frame(6, 1):uint() ~= VERSION then
        root:add(vault, frame):add(f.noise, frame):add_proto_expert_info(malformed, "These bytes are no frame")
        say(pinfo, "no frame")
        return frame:len()
    end
    local flags, opcode, seq = frame(7, 1):uint(), frame(8, 2):uint(), frame(10, 4):uint()
    local keyed = bits.band(flags, KEYED) ~= 0 and frame:len() >= HEADER + KEY
    local at = keyed and HEADER + KEY or HEADER
    local after = bits.band(flags, AFTER) ~= 0 and frame:len() >= at + NUMBER and frame(at, NUMBER) or nil
    if after then at = at + NUMBER end
    local body = frame:len() > at and frame(at) or nil
    local asks, as_of
    -- Of the two only a response has it before its body.
    if bits.band(flags, LSN) ~= 0 and body and body:len() > NUMBER and is_request(opcode, flags, body) ~= true then
        as_of, body = body(0, NUMBER), body(NUMBER)
    end
    if bits.band(flags, XOR) ~= 0 and opcode == 0x0001 then asks = nil else asks = is_request(opcode, flags, body) end
    if as_of and asks then asks = nil end
    local tree = root:add(vault, frame)
    header(frame, tree)
    if asks ~= nil then tree:add(f.request, frame(8, 2), asks):set_generated() end
    if keyed then tree:add(f.key, frame(HEADER, KEY)) end
    if after then tree:add(f.after, after) end
    if as_of then tree:add(f.as_of, as_of) end
    local name = (OPCODES[opcode] or string.format("opcode 0x%04x", opcode)) .. (asks == false and " reply" or "")
    local said = body_of(opcode, flags, body, asks, tree)
    local text = string.format("%s seq %d%s", name, seq, said and ": " .. said or "")
    tree:set_text("Bank Vault, " .. text)
    say(pinfo, text)
    return frame:len()
end

local function is_plausible(tvb, at)
    local length = tvb(at, 4):uint()
    return tvb(at + 4, 2):uint() == MAGIC and length >= HEADER and length <= LONGEST
end

-- How long the frame at `offset` is; what is no frame goes as far as the next one of this segment, or as the segment.
local function length_of(tvb, _, offset)
    if is_plausible(tvb, offset) then return tvb(offset, 4):uint() end
    for at = offset + HEADER, tvb:len() - HEADER do
        if is_plausible(tvb, at) then return at - offset end
    end
    return tvb:len() - offset
end

function vault.dissector(tvb, pinfo, root)
    pinfo.cols.info:set("")
    said_so_far = 0
    dissect_tcp_pdus(tvb, root, HEADER, length_of, dissect_frame)
    return tvb:len()
end

local function looks_like_ours(tvb, pinfo, root)
    if tvb:len() < HEADER or tvb(4, 2):uint() ~= MAGIC or tvb(6, 1):uint() ~= VERSION or tvb(7, 1):uint() > 31 then return false end
    local length = tvb(0, 4):uint()
    if length < HEADER or length > LONGEST then return false end
    pinfo.conversation = vault
    vault.dissector(tvb, pinfo, root)
    return true
end
vault:register_heuristic("tcp", looks_like_ours)

local ports, listens_on = DissectorTable.get("tcp.port"), nil
local function listen_on(port)
    if listens_on == port then return end
    if listens_on then ports:remove(listens_on, vault) end
    ports:add(port, vault)
    listens_on = port
end
function vault.prefs_changed() listen_on(vault.prefs.port) end
listen_on(vault.prefs.port)
