-- Asks idpsyncd about each request, and tells the platform what it answers. Loaded by config/haproxy.cfg.

local url = os.getenv("IDPSYNCD_AUTHZ")

-- What idpsyncd tells the platform.
local told = {
    "x-osmo-user",
    "x-osmo-roles",
    "x-osmo-allowed-pools",
    "x-osmo-token-name",
    "x-osmo-workflow-id",
}

-- What is of the connection or the body, or set below.
local left_out = {
    ["host"] = true,
    ["connection"] = true,
    ["content-length"] = true,
    ["transfer-encoding"] = true,
    ["expect"] = true,
    ["te"] = true,
    ["trailer"] = true,
    ["x-original-uri"] = true,
    ["x-original-method"] = true,
    ["x-forwarded-uri"] = true,
    ["x-forwarded-method"] = true,
}

local function question(txn)
    local headers = {}
    for name, values in pairs(txn.http:req_get_headers()) do
        if not left_out[name] then
            -- HAProxy counts from 0. One that is there twice is to be seen twice.
            local list = {}
            for place = 0, #values do
                table.insert(list, values[place])
            end
            headers[name] = list
        end
    end
    -- The request as it came: neither decoded nor normalised.
    headers["x-original-uri"] = { txn.sf:pathq() }
    headers["x-original-method"] = { txn.sf:method() }
    headers["x-original-host"] = { txn.sf:req_fhdr("host") }
    headers["x-forwarded-proto"] = { txn.sf:ssl_fc() == 1 and "https" or "http" }
    return headers
end

local function first(values)
    return values and (values[0] or values[1]) or ""
end

core.register_action("idpsyncd", { "http-req" }, function(txn)
    -- Somebody whom nobody has seen yet is looked up first, which may take as long as the identity
    -- provider does.
    local answer = core.httpclient():get({ url = url, headers = question(txn), timeout = 6000 })
    if answer.status == 200 then
        for _, name in ipairs(told) do
            local value = first(answer.headers[name])
            if value ~= "" then
                txn.http:req_set_header(name, value)
            end
        end
        txn:set_var("txn.idpsyncd", "allowed")
        return
    end
    local reply = txn:reply()
    if answer.status == 401 or answer.status == 403 then
        reply:set_status(answer.status)
        reply:add_header("content-type", "application/json")
        local challenge = first(answer.headers["www-authenticate"])
        if challenge ~= "" then
            reply:add_header("www-authenticate", challenge)
        end
        reply:set_body(answer.body or "")
    else
        reply:set_status(503)
    end
    txn:done(reply)
end, 0)
