%% Runs inside the broker. At the start it removes users that aren't in the definitions: an import adds and changes users, but never
%% removes one, so a user of an earlier version, or one that was added by hand, would keep its access.
%% Then, every 5 seconds, it tries whether each account can sign in with its secret and enter its vhost. If a secret has changed, or an
%% account or its permission is missing, it loads the definitions again. What is wrong after that is in the log and in /tmp/accounts,
%% which broker-health reads; the file is empty if all is well.

Definitions = fun() ->
    {ok, Text} = file:read_file("/tmp/definitions.json"),
    rabbit_json:decode(Text)
end,

RemoveOthers = fun() ->
    Wanted = [maps:get(<<"name">>, User) || User <- maps:get(<<"users">>, Definitions())],
    Present = [proplists:get_value(user, User) || User <- rabbit_auth_backend_internal:list_users()],
    [rabbit_auth_backend_internal:delete_user(Name, <<"sluice">>) || Name <- Present -- Wanted]
end,

MayEnter = fun(User, VHost) ->
    try rabbit_access_control:check_vhost_access(User, VHost, undefined, #{}) =:= ok
    catch exit:_ -> false
    end
end,

%% What keeps this account out: {an import fixes it, a sentence}. A vhost isn't created again unasked: its queues are gone too.
Refusal = fun(Name, VHost) ->
    case file:read_file(<<"/run/sluice/secrets/mq_", Name/binary>>) of
        {error, Reason} ->
            [{false, io_lib:format("the secret mq_~ts can't be read (~p): run the service init, it creates missing secrets", [Name, Reason])}];
        {ok, Secret} ->
            case rabbit_access_control:check_user_pass_login(Name, string:trim(Secret, trailing, "\n")) of
                {ok, User} ->
                    case {rabbit_vhost:exists(VHost), MayEnter(User, VHost)} of
                        {true, true} -> [];
                        {true, false} -> [{true, io_lib:format("user ~ts may not enter the vhost ~ts", [Name, VHost])}];
                        {false, _} -> [{false, io_lib:format("there is no vhost ~ts: restart rabbitmq, it creates the vhost again", [VHost])}]
                    end;
                _ -> [{true, io_lib:format("user ~ts can't sign in with its secret", [Name])}]
            end
    end
end,

Refusals = fun() ->
    lists:append([
        Refusal(maps:get(<<"user">>, Permission), maps:get(<<"vhost">>, Permission))
     || Permission <- maps:get(<<"permissions">>, Definitions())
    ])
end,

Sentences = fun(Found) -> unicode:characters_to_binary(lists:join("; ", lists:usort([Sentence || {_, Sentence} <- Found]))) end,

%% `definitions` prints nothing here unless it fails. Then the old ones stay.
Load = fun(Why) ->
    case os:cmd("definitions 2>&1 >/tmp/definitions.new && mv /tmp/definitions.new /tmp/definitions.json") of
        "" ->
            {ok, Text} = file:read_file("/tmp/definitions.json"),
            ok = rabbit_definitions:import_raw(Text),
            logger:warning("sluice rabbitmq: loaded the accounts again: ~ts", [Why]),
            Sentences(Refusals());
        Complaint ->
            unicode:characters_to_binary(string:trim(Complaint))
    end
end,

%% Returns what is wrong, after it has put right what it can.
Check = fun() ->
    Found = Refusals(),
    case lists:keymember(true, 1, Found) of
        false -> Sentences(Found);
        true -> Load(Sentences(Found))
    end
end,

spawn(fun() ->
    ok = rabbit:await_startup(node(), false, infinity),
    RemoveOthers(),
    (fun Watch(Before) ->
        Wrong =
            try Check()
            catch Class:Reason -> unicode:characters_to_binary(io_lib:format("the accounts can't be checked: ~0P", [{Class, Reason}, 12]))
            end,
        [logger:error("sluice rabbitmq: ~ts", [Wrong]) || Wrong =/= Before, Wrong =/= <<>>],
        file:write_file("/tmp/accounts.new", Wrong),
        file:rename("/tmp/accounts.new", "/tmp/accounts"),
        timer:sleep(5000),
        Watch(Wrong)
    end)(<<>>)
end).
