-- The weather of the hour before `time_hour`, at the airport a flight leaves from. The file gives the
-- hour of an observation and not the minute, so only that of the hour before is sure to be known.
with observed as (
    select
        weather.origin,
        try_cast(replace(weather.time_hour, 'Z', '') as timestamp)
        + interval 1 hour as next_hour,
        try_cast(weather.temp as double) as temperature_f,
        try_cast(weather.dewp as double) as dew_point_f,
        try_cast(weather.humid as double) as humidity,
        try_cast(weather.wind_dir as double) as wind_direction,
        -- One observation of more than a thousand miles an hour is none.
        if(
            try_cast(weather.wind_speed as double) < 150, try_cast(weather.wind_speed as double), null
        ) as wind_mph,
        try_cast(weather.wind_gust as double) as gust_mph,
        try_cast(weather.precip as double) as rain_inches,
        try_cast(weather.pressure as double) as pressure_mbar,
        try_cast(weather.visib as double) as visibility_miles
    from validated.weather as weather
)

select
    observed.origin,
    strftime(observed.next_hour, '%Y-%m-%dT%H:%M:%SZ') as time_hour,
    observed.temperature_f,
    observed.temperature_f - observed.dew_point_f as dew_point_spread,
    observed.humidity,
    sin(radians(observed.wind_direction)) * observed.wind_mph as wind_east,
    cos(radians(observed.wind_direction)) * observed.wind_mph as wind_north,
    observed.wind_mph,
    coalesce(observed.gust_mph, observed.wind_mph) as gust_mph,
    observed.rain_inches,
    sum(observed.rain_inches) over (
        partition by observed.origin order by observed.next_hour
        range between interval 5 hour preceding and current row
    ) as rain_of_six_hours,
    observed.pressure_mbar,
    observed.pressure_mbar - lag(observed.pressure_mbar, 3) over (
        partition by observed.origin order by observed.next_hour
    ) as pressure_change,
    observed.visibility_miles,
    observed.next_hour - interval 5 hour as known_at
from observed
order by observed.origin, observed.next_hour
